import com.pixelmed.validate.DicomSRValidator;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.lang.reflect.Field;
import javax.xml.transform.Source;
import javax.xml.transform.Transformer;
import javax.xml.transform.URIResolver;

/** Checks the SR of each path that is read, and writes what there is to say, then a line "====". */
public class ValidateReports {
    public static void main(String[] arguments) throws Exception {
        DicomSRValidator validator = new DicomSRValidator();
        nameWhatIsLoaded(validator);
        BufferedReader paths = new BufferedReader(new InputStreamReader(System.in));
        for (String path = paths.readLine(); path != null; path = paths.readLine()) {
            System.out.println(validator.validate(path));
            System.out.println("====");
        }
    }

    /** The context groups: without a name they are parsed anew for each content item. */
    private static void nameWhatIsLoaded(DicomSRValidator validator) throws Exception {
        Field pass = DicomSRValidator.class.getDeclaredField("transformerPass1");
        pass.setAccessible(true);
        Transformer transformer = (Transformer) pass.get(validator);
        URIResolver resolver = transformer.getURIResolver();
        transformer.setURIResolver((name, base) -> {
            Source source = resolver.resolve(name, base);
            source.setSystemId(name);
            return source;
        });
    }
}
